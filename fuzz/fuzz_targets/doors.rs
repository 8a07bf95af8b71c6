//! Does any sequence of frames, table swaps and passing time break a promise of the road? See `weft_fuzz::doors::sequence`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weft_fuzz::doors::sequence(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    weft_fuzz::replay(weft_fuzz::doors::sequence)
}
