"""`raymaskdp doctor --launch FILE`: whether a launch file can work, before any machine is paid for."""
