//! Do any bytes with any virtio-net header break a promise of the cut into packets? See `weft_fuzz::split`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weft_fuzz::split::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    weft_fuzz::replay(weft_fuzz::split::run)
}
