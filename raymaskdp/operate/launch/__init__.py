"""`raymaskdp doctor --launch FILE`: check a launch file, before any machine is paid for."""
