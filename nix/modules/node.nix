# What every node is told: the program, its settings, who it is and where it listens.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.taskmaster;
  format = pkgs.formats.toml { };
  isInStore = path: lib.hasPrefix "${builtins.storeDir}/" path;
  isLoopback = lib.hasPrefix "127." cfg.host || cfg.host == "[::1]";
in
{
  options.services.taskmaster = {
    enable = lib.mkEnableOption "a node of Taskmaster, the one AI endpoint of all machines of a home";

    package = mkOption {
      type = types.package;
      default = pkgs.taskmaster or (pkgs.callPackage ../package.nix { });
      defaultText = lib.literalExpression "pkgs.taskmaster";
      description = "The package with `tmd` and `tmctl`.";
    };

    user = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "taskmaster";
      description = ''
        The account that the node runs as; `null` lets systemd make one for as long as it runs. The account `taskmaster`
        is made here, any other must exist.
      '';
    };

    group = mkOption {
      type = types.nullOr types.str;
      default = if cfg.user == "taskmaster" then "taskmaster" else null;
      defaultText = lib.literalMD "`taskmaster` for the account of that name, else the account's own";
      description = "The group that the node runs as; `null` is the account's own.";
    };

    dataDir = mkOption {
      type = types.str;
      default = "/var/lib/taskmaster";
      description = "Where the node keeps what must survive. Anywhere but at its default it needs `user`.";
    };

    host = mkOption {
      type = types.str;
      default = "127.0.0.1";
      example = "0.0.0.0";
      description = "The address that HTTP listens on. Off loopback clients need API keys.";
    };

    port = mkOption {
      type = types.port;
      default = 3001;
      description = "The port of HTTP: OpenAI, Ollama and Anthropic clients, MCP, the page, metrics.";
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to let everybody reach the port of HTTP; `host` says whether anything listens there.";
    };

    environmentFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/etc/taskmaster/env";
      description = "File with more of the environment, read by systemd. A path as text: it is not copied to the store.";
    };

    credentials = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        "claude.key" = "/run/secrets/claude";
      };
      description = ''
        Secrets that systemd hands to the node alone (`LoadCredential=`), by name. A setting such as `key_file` that is no
        whole path is one of these names.
      '';
    };

    settings = mkOption {
      default = { };
      description = "What goes into the node's configuration file; `tmd config` prints every setting there is.";
      type = types.submodule {
        freeformType = format.type;
        options = {
          node.name = mkOption {
            type = types.str;
            default = config.networking.hostName;
            defaultText = lib.literalExpression "config.networking.hostName";
            description = "The name in the cluster, and in the node's certificate.";
          };
          privacy.mode = mkOption {
            type = types.enum [
              "local-only"
              "local-preferred"
              "hybrid"
              "external-preferred"
              "external-only"
            ];
            default = "local-only";
            description = "What may leave the house; by default nothing.";
          };
          privacy.lock = mkOption {
            type = types.bool;
            default = cfg.settings.privacy.mode == "local-only";
            defaultText = lib.literalMD "whether the mode is local-only";
            description = ''
              Whether the node stays local-only whatever the cluster is set to. The kernel then lets it reach
              `privacy.local_ranges` and this machine, and nothing else.
            '';
          };
          privacy.local_ranges = mkOption {
            type = types.listOf types.str;
            default = [
              "10.0.0.0/8"
              "172.16.0.0/12"
              "192.168.0.0/16"
              "fd00::/8"
            ];
            description = "The networks that are the house.";
          };
        };
      };
    };
  };

  config = lib.mkIf cfg.enable {
    services.taskmaster.settings = {
      node.data_dir = cfg.dataDir;
      http.listen = "${cfg.host}:${toString cfg.port}";
      # Weaker than a default: others have reasons of their own to ask for keys.
      auth.keys = lib.mkOverride 1200 (if isLoopback then "off" else "store");
    };

    assertions = [
      {
        assertion = cfg.user != null || cfg.dataDir == "/var/lib/taskmaster";
        message = "services.taskmaster.dataDir is not at its default, so an account must own it: set services.taskmaster.user.";
      }
      {
        assertion =
          !lib.any isInStore (
            lib.attrValues cfg.credentials ++ lib.optional (cfg.environmentFile != null) cfg.environmentFile
          );
        message = "services.taskmaster: a secret is in the store, where everybody may read it; give the path of a file outside as text.";
      }
      {
        assertion = !(cfg.settings ? hooks.github.secret);
        message = "services.taskmaster.settings.hooks.github.secret would be in the store, where everybody may read it: use secret_file and services.taskmaster.credentials.";
      }
      {
        assertion = (cfg.settings ? backup.to) -> cfg.user != null;
        message = "services.taskmaster.settings.backup.to is a folder outside of the data, so an account must own it: set services.taskmaster.user.";
      }
      {
        assertion = cfg.settings.store.encryption or false -> cfg.settings ? store.key_file;
        message = "services.taskmaster.settings.store.encryption needs a key: name it in store.key_file, and its file in services.taskmaster.credentials.";
      }
      {
        assertion = cfg.settings.privacy.lock -> cfg.settings.privacy.mode == "local-only";
        message = "services.taskmaster.settings.privacy.lock holds a node at local-only: set privacy.mode so, or privacy.lock = false.";
      }
    ];
    warnings = lib.optional (cfg.openFirewall && isLoopback) ''
      services.taskmaster.openFirewall opens port ${toString cfg.port}, but the node listens on ${cfg.host} alone: set services.taskmaster.host.
    '';

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [ cfg.port ];
    environment.systemPackages = [ cfg.package ];

    users.users = lib.mkIf (cfg.user == "taskmaster") {
      taskmaster = {
        isSystemUser = true;
        group = cfg.group;
      };
    };
    users.groups = lib.mkIf (cfg.user == "taskmaster" && cfg.group == "taskmaster") {
      taskmaster = { };
    };
  };
}
