//! Exists because `links` in Cargo.toml asks for a build script; it builds nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
