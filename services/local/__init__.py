"""Everything on this machine: `bowerbird up`, and the servers of the tests."""
