//! Does any file in the journal's place mislead the daemon? See `weft_fuzz::journal::run`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weft_fuzz::journal::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    weft_fuzz::replay(weft_fuzz::journal::run)
}
