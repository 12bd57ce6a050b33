"""The page of a results root: one HTML file that needs neither a server nor a network.

Root + Selection -> gather -> Content -> page -> `monosweep report`
    sweeps, failures, trials, traces, parts, claims        report.js draws it in the reader's browser
"""
