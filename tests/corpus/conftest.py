from tests.backend.conftest import redis_socket

__all__ = ["redis_socket"]
