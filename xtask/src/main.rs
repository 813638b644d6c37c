//! What is done often.
fn main() {}
