"""Why a job hangs or failed."""
