# Evaluates the module without NixOS: its lib is real, everything that is not ours takes any value. The system tests read
# what comes out.
#
# libdir: nixpkgs' lib; configuration: a module, or the name of an example.
{ libdir, configuration }:
let
  lib = import libdir;
  inherit (lib) mkOption types;
  package = name: {
    type = "derivation";
    inherit name;
    outPath = "/packages/${name}";
    override = _: package "${name}-other";
  };
  pkgs = {
    taskmaster = package "taskmaster";
    taskmaster-engine = package "taskmaster-engine";
    ollama-cuda = package "ollama-cuda";
    formats.toml =
      _:
      let
        value = types.oneOf [
          types.bool
          types.int
          types.float
          types.str
          (types.attrsOf value)
          (types.listOf value)
        ];
      in
      {
        type = value;
        generate = name: _: "/etc/${name}";
      };
  };
  any = mkOption {
    type = types.submodule { freeformType = types.attrsOf types.anything; };
    default = { };
  };
  # Options that several modules add to.
  list = mkOption {
    type = types.listOf types.anything;
    default = [ ];
  };
  text = mkOption {
    type = types.lines;
    default = "";
  };
  surroundings.options = {
    assertions = list;
    warnings = list;
    environment = {
      systemPackages = list;
      etc = any;
    };
    systemd.tmpfiles.rules = list;
    systemd.services = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
    networking = {
      hostName = mkOption {
        type = types.str;
        default = "a-machine";
      };
      hosts = any;
      nftables = any;
      firewall = {
        allowedTCPPorts = list;
        extraInputRules = text;
        extraCommands = text;
        extraStopCommands = text;
      };
    };
    users = {
      users = any;
      groups = any;
    };
    services = lib.genAttrs [
      "etcd"
      "nginx"
      "ollama"
      "prometheus"
    ] (_: any);
    fileSystems = any;
    virtualisation = any;
  };
  asked =
    if builtins.isString configuration then
      import (../examples + "/${configuration}.nix")
    else
      configuration;
  evaluated = lib.evalModules {
    modules = [
      surroundings
      { _module.args = { inherit pkgs; }; }
      ((import ../../flake.nix).outputs {
        self = { };
        nixpkgs.lib = lib;
      }).nixosModules.default
      asked
    ];
  };
  inherit (evaluated) config;
in
{
  failed = map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);
  inherit (config) warnings;
  inherit (config.services.taskmaster) settings;
  unit = config.systemd.services.taskmaster;
  inherit (config.services) etcd nginx;
  firewall = config.networking.firewall;
}
