"""Write programs that use coding agents the way one uses functions."""
