//! Faults: selection, schedule, guard, ledger.
