"""Body motion: skeletons, kinematics, rotations, BVH files."""
