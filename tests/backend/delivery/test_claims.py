"""Who may deliver a prediction."""

import time

from backend.delivery.claims import Claims, Target
from tests.support.deliveries import expire_claims


def test_claims_are_exclusive_until_they_expire(keyspace, connection):
    claims, target = Claims(keyspace), Target("7", "1")
    assert all(claims.claim([target, Target("7", "2")], "v", 0.2))
    assert claims.claim([target], "w", 60) != [None]
    assert 0 <= claims.claimed_for(target, "v") <= 0.2
    time.sleep(0.25)
    assert claims.claim([target], "v", 60) != [None]
    assert claims.claim([target], "v", 60) == [None]


def test_who_lost_a_claim_neither_releases_nor_prolongs_the_next_owners(keyspace, connection):
    claims, target = Claims(keyspace), Target("7", "1")
    (first,) = claims.claim([target], "v", 60)
    assert claims.extend(first, 60)
    expire_claims(connection)
    (second,) = claims.claim([target], "v", 60)
    claims.release([first])
    assert not claims.extend(first, 3600)
    assert 0 < claims.claimed_for(target, "v") <= 60
    assert claims.claim([target], "v", 60) == [None]
    assert not claims.extend(second, 60), "the first may have delivered"
    assert claims.extend(second, 60)
    claims.release([second])
    assert not claims.extend(second, 60), "somebody may have had it meanwhile"
