"""Body motion: skeletons, kinematics, rotations, clips on disk, imports."""
