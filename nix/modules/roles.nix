# What a node does; each role brings along what it needs.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.taskmaster;
  on =
    what:
    mkOption {
      type = types.bool;
      default = true;
      description = "Whether the node ${what}.";
    };
  jaeger = cfg.observability.jaeger;
  # The virtual hosts of nginx that hand on to this node, whoever wrote them.
  isOurs = location: lib.hasSuffix ":${toString cfg.port}" (toString (location.proxyPass or ""));
  handsOn = host: lib.any isOurs (lib.attrValues (host.locations or { }));
  handedOn = lib.attrNames (lib.filterAttrs (_: handsOn) (config.services.nginx.virtualHosts or { }));
in
{
  options.services.taskmaster = {
    gateway = {
      enable = on "takes asks of clients";
      virtualHost = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "taskmaster.home-lab";
        description = "Name under which nginx hands clients on to the node, with streams and websockets. Clients need keys then.";
      };
    };

    worker = {
      enable = on "runs workers, one for each engine in `settings.workers`";
      gpu = mkOption {
        type = types.nullOr (
          types.enum [
            "cuda"
            "rocm"
          ]
        );
        default = null;
        description = "The GPU that the node may look at, and that engines which it starts itself may use.";
      };
      sharedPorts = mkOption {
        type = types.listOf types.port;
        default = [ ];
        example = [ 11434 ];
        description = "Ports of this machine's engines that the other machines in `nodes` may reach, and nobody else.";
      };
    };

    research = {
      enable = on "keeps documents of the knowledge base";
      folders = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "/srv/docs" ];
        description = "Folders that may be watched here.";
      };
    };

    engine = {
      enable = lib.mkEnableOption "the built-in engine, which runs model files by itself";
      package = mkOption {
        type = types.package;
        default = pkgs.taskmaster-engine or (pkgs.callPackage ../package.nix { withEngine = true; });
        defaultText = lib.literalExpression "pkgs.taskmaster-engine";
        description = "The package with `tm-engine`.";
      };
      slots = mkOption {
        type = types.ints.positive;
        default = 4;
        description = "Asks that it answers at once.";
      };
    };

    observability = {
      enable = lib.mkEnableOption "Prometheus on this machine, reading the node's metrics, and traces of the node";
      traces = mkOption {
        type = types.str;
        default = "http://127.0.0.1:4317";
        description = "Where traces go: OTLP over gRPC, as Jaeger takes it.";
      };
      keyFile = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "/run/secrets/prometheus";
        description = "File with the API key that Prometheus shows, where clients need one; Prometheus must be able to read it.";
      };
      jaeger = {
        enable = lib.mkEnableOption "Jaeger on this machine, in a container, reachable from this machine alone";
        image = mkOption {
          type = types.str;
          default = "jaegertracing/jaeger:2.20.0";
          description = "The image of Jaeger.";
        };
      };
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        services.taskmaster.settings.node.roles =
          lib.optional cfg.gateway.enable "gateway"
          ++ lib.optional cfg.worker.enable "worker"
          ++ lib.optional cfg.research.enable "research";
        assertions = [
          {
            assertion = cfg.gateway.enable || cfg.worker.enable || cfg.research.enable;
            message = "services.taskmaster: a node without a role does nothing; enable gateway, worker or research.";
          }
        ];
      }
      (lib.mkIf (cfg.research.folders != [ ]) {
        services.taskmaster.settings.research.folders = cfg.research.folders;
      })
      (lib.mkIf (handedOn != [ ]) {
        services.taskmaster.settings = {
          # Whoever reaches nginx would else reach the node as this machine does.
          auth.keys = lib.mkDefault "store";
          http.allowed_origins = lib.concatMap (host: [
            host
            "http://${host}"
            "https://${host}"
          ]) handedOn;
        };
      })
      (lib.mkIf (cfg.gateway.enable && cfg.gateway.virtualHost != null) {
        services.nginx = {
          enable = lib.mkDefault true;
          virtualHosts.${cfg.gateway.virtualHost}.locations."/" = {
            proxyPass = "http://${cfg.host}:${toString cfg.port}";
            proxyWebsockets = true;
            recommendedProxySettings = true;
            # Tokens pass as they come, a long answer may take its time, and the node has its own limit on bodies.
            extraConfig = ''
              proxy_buffering off;
              proxy_request_buffering off;
              proxy_read_timeout 3600s;
              client_max_body_size 0;
            '';
          };
        };
      })
      (lib.mkIf cfg.engine.enable {
        services.taskmaster.settings = {
          engine.program = "${cfg.engine.package}/bin/tm-engine";
          workers = [
            {
              name = "engine";
              backend = "engine";
              inherit (cfg.engine) slots;
            }
          ];
        };
      })
      (lib.mkIf cfg.observability.enable {
        services.taskmaster.settings.telemetry.otlp = cfg.observability.traces;
        warnings = lib.optional (cfg.settings.auth.keys == "store" && cfg.observability.keyFile == null) ''
          services.taskmaster: the node wants a key of Prometheus; make one and set services.taskmaster.observability.keyFile.
        '';
        services.prometheus = {
          enable = lib.mkDefault true;
          listenAddress = lib.mkDefault "127.0.0.1";
          scrapeConfigs = [
            (
              {
                job_name = "taskmaster";
                static_configs = [ { targets = [ "127.0.0.1:${toString cfg.port}" ]; } ];
              }
              // lib.optionalAttrs (cfg.observability.keyFile != null) {
                authorization.credentials_file = cfg.observability.keyFile;
              }
            )
          ];
          # The key is not there yet when the configuration is built.
          checkConfig = lib.mkIf (cfg.observability.keyFile != null) (lib.mkDefault "syntax-only");
        };
      })
      (lib.mkIf (cfg.observability.enable && jaeger.enable) {
        virtualisation.oci-containers.containers.jaeger = {
          inherit (jaeger) image;
          ports = [
            "127.0.0.1:4317:4317"
            "127.0.0.1:16686:16686"
          ];
        };
      })
    ]
  );
}
