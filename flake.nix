{
  description = "One AI endpoint for all machines of a home";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEach = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = forEach (pkgs: rec {
        taskmaster = pkgs.callPackage ./nix/package.nix { };
        taskmaster-engine = taskmaster.override { withEngine = true; };
        default = taskmaster;
      });

      overlays.default = import ./nix/overlay.nix;

      devShells = forEach (pkgs: {
        default = import ./nix/shell.nix { inherit pkgs; };
      });

      nixosModules = rec {
        taskmaster = import ./nix/modules;
        default = taskmaster;
      };

      checks = forEach (pkgs: {
        inherit (self.packages.${pkgs.stdenv.hostPlatform.system}) taskmaster;
        cluster = import ./nix/tests/cluster.nix { inherit pkgs; };
      });
    };
}
