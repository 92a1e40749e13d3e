"""What plugs into python-socketio's server."""
