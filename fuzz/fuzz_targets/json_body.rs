#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| onsale_fuzz::holds(onsale::fuzzing::json_body, input));
