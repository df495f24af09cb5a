"""The extra that brings diffusers (no torch)."""

INSTALL = "pip install 'gpuops[layout]'"
MISSING = "layouts are drawn by the library diffusers, which is not installed", INSTALL


def why_not(error: ImportError) -> tuple[str, str]:
    """Return why diffusers cannot be imported, and a hint: it may lack a library of its own."""
    if isinstance(error, ModuleNotFoundError) and error.name == "diffusers":
        return MISSING
    return f"the library diffusers is installed and cannot be imported: {error}", INSTALL
