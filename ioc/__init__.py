"""What every EPICS server of cryoline is made of, simulated or bridging."""
