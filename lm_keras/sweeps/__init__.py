"""Many runs that differ in a few settings: which, one after the other, and what came of them."""
