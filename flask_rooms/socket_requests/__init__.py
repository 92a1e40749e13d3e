"""Flask routes, served to Socket.IO clients."""
