//! Does connection tracking let pass what the rules deny, or lose what they allow? See `weft_fuzz::conntrack`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weft_fuzz::conntrack::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    weft_fuzz::replay(weft_fuzz::conntrack::run)
}
