//! Do any bytes as a UDP payload, or any frame into a tunnel, break the overlay's promises? See `weft_fuzz::vxlan`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weft_fuzz::vxlan::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    weft_fuzz::replay(weft_fuzz::vxlan::run)
}
