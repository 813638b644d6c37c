//! Helpers of the promise tests.
