"""The chat page (stub)."""
def mount(app, library):
    pass
