"""Extract one performance: from its .smc files to a sealed staging folder."""
