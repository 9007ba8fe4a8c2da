"""Lightning callbacks that know no particular task."""
