"""Socket requests: Flask routes, served to Socket.IO clients."""
