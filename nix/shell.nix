# What building and `make test` need; the tool chain is the one of nixpkgs, which must be at least as new as the manifest says.
{ pkgs }:
pkgs.mkShell {
  packages = with pkgs; [
    cargo
    rustc
    rustfmt
    clippy
    rust-analyzer
    protobuf
    cmake
    etcd
    redis
    nginx
    nftables
    procps
    curl
    jq
    iproute2
    python3
  ];
  LIBCLANG_PATH = "${pkgs.llvmPackages.libclang.lib}/lib";
  PROTOC = "${pkgs.protobuf}/bin/protoc";
}
