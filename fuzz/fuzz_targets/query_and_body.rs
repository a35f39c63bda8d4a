#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| onsale_fuzz::holds(
    onsale::fuzzing::query_and_body,
    input
));
