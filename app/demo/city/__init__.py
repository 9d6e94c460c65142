"""A synthetic metropolitan city from a seed: municipalities, cameras, bells, agencies, agreements and units."""

from app.demo.city.generate import generate
from app.demo.city.shape import City

__all__ = ["City", "generate"]
