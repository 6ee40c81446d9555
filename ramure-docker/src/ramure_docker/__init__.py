"""Docker containers for ramure."""

from ramure_docker.image import DockerImage

__all__ = ["DockerImage"]
