"""What every trainer shares: functions and small values. Import the modules, not the package."""
