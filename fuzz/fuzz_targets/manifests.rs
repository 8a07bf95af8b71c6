//! Is what a manifest says what the reader understands? See `weft_fuzz::policy::reader::run`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weft_fuzz::policy::reader::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    weft_fuzz::replay(weft_fuzz::policy::reader::run)
}
