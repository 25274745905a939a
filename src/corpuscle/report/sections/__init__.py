"""Sections: what each part of the page says, as plain data."""
