from tests.support.private_redis import redis_settings, redis_socket

__all__ = ["redis_settings", "redis_socket"]
