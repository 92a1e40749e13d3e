"""Each part by itself: one package of flask_rooms per folder."""
