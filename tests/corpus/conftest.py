from tests.support.private_redis import redis_socket

__all__ = ["redis_socket"]
