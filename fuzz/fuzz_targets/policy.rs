//! Do the compiled tables say what the specification says? See `weft_fuzz::policy::run`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weft_fuzz::policy::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    weft_fuzz::replay(weft_fuzz::policy::run)
}
