//! Hands what libFuzzer makes up to `sensor_fuzz::format`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sensor_fuzz::format(bytes));
