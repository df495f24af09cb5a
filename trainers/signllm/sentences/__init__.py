"""Sentences with their text, gloss and poses: as files hold them, and as training reads them."""
