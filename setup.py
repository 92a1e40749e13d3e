"""The package's metadata; pyproject.toml configures the tools."""

from pathlib import Path

from setuptools import find_packages, setup

# Lower bounds only: an upper one would decide for the application. tests/minimum.txt pins
# exactly these versions, and tox's py310-min runs the tests on them.
INSTALL_REQUIRES = [
    "eventlet>=0.39.1",
    "Flask>=2.3.0",
    "Flask-SocketIO>=5.6.0",
    "itsdangerous>=2.1.2",
    "kombu>=5.3.0",
    "msgpack>=1.0.5",
    "python-socketio>=5.15.0",
    "simple-websocket>=1.0.0",
]

EXAMPLE = ["Flask-SQLAlchemy>=3.1.0", "python-socketio[client]>=5.15.0"]
TEST = [
    "hypothesis>=6.80.0",
    "pytest>=9.0.0",
    "python-socketio[asyncio-client]>=5.15.0",
]
REDIS = ["kombu[redis]>=5.3.0"]
# What applications use beside this: the tests see to it that it works over sockets.
BESIDE = [
    "cachelib>=0.13.0",
    "celery>=5.3.0",
    "Flask-Limiter>=3.8.0",
    "Flask-Login>=0.6.3",
    "Flask-Session>=0.8.0",
    "Flask-WTF>=1.2.1",
]
GEVENT = ["gevent>=23.9.0", "gevent-websocket>=0.10.1"]

setup(
    name="Flask-Rooms",
    version="0.1.0",
    description="Rooms for Socket.IO clients, from any Flask route, on any worker, confirmed.",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The Flask-Rooms contributors",
    license="BSD-3-Clause",
    packages=find_packages(include=["flask_rooms", "flask_rooms.*"]),
    package_data={"flask_rooms": ["py.typed", "static/*"]},
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=INSTALL_REQUIRES,
    extras_require={
        "redis": REDIS,
        "gevent": GEVENT,
        "example": EXAMPLE + REDIS,
        "test": EXAMPLE + REDIS + BESIDE + TEST,
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Web Environment",
        "Framework :: Flask",
        "Intended Audience :: Developers",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Communications",
        "Topic :: Internet :: WWW/HTTP :: WSGI",
        "Typing :: Typed",
    ],
)
