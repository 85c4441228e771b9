# `tmd` and `tmctl`, and with the built-in engine `tm-engine`. The lock file has the hashes of everything.
{
  lib,
  rustPlatform,
  protobuf,
  cmake,
  installShellFiles,
  stdenv,
  withEngine ? false,
}:
rustPlatform.buildRustPackage {
  pname = "taskmaster";
  version = (builtins.fromTOML (builtins.readFile ../Cargo.toml)).workspace.package.version;

  src = lib.cleanSource ../.;
  cargoLock.lockFile = ../Cargo.lock;

  nativeBuildInputs = [
    cmake
    installShellFiles
  ]
  ++ lib.optional withEngine rustPlatform.bindgenHook;
  # For the crates that compile C; this package itself has no CMakeLists.txt.
  dontUseCmakeConfigure = true;
  env.PROTOC = "${protobuf}/bin/protoc";

  cargoBuildFlags = [
    "--package=tmd"
    "--package=tmctl"
  ]
  ++ lib.optional withEngine "--package=engine";

  # The programs write these themselves, so only where they can be run.
  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    for shell in bash zsh fish; do
      $out/bin/tmctl completions $shell > tmctl.$shell
    done
    installShellCompletion tmctl.{bash,zsh,fish}
    $out/bin/tmctl man man1
    $out/bin/tmd man man1
    installManPage man1/*.1
  '';

  # The tests start real clusters, and want etcd, network namespaces and engines: `make test` runs them.
  doCheck = false;

  meta = {
    description = "One AI endpoint for all machines of a home";
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "tmd";
    platforms = lib.platforms.linux;
  };
}
