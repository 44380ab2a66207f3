{{/* Reject values that are wrong together, which the schema cannot check. */}}
{{- define "oci-registry.validate" -}}
{{- $values := .Values -}}
{{- $problems := list -}}
{{- $storage := $values.registry.storage -}}
{{- $disk := $values.persistence -}}
{{- $filesystem := eq $storage.mode "filesystem" -}}
{{- $shared := and $disk.enabled (include "oci-registry.shared" .) -}}
{{- $several := $values.autoscaling.enabled | ternary (gt (int $values.autoscaling.maxReplicas) 1) (gt (int $values.replicas) 1) -}}
{{- if and $several $filesystem (eq $values.kind "Deployment") (not $shared) -}}
{{- $problems = append $problems "several replicas of a Deployment need one store that all of them can write to: set persistence.enabled true and persistence.accessModes [ReadWriteMany], or registry.storage.mode s3, or kind StatefulSet (a volume for each replica), or kind DaemonSet (a cache on every node), or replicas 1" -}}
{{- end -}}
{{- if and (eq $values.kind "StatefulSet") $filesystem $disk.enabled $disk.existingClaim -}}
{{- $problems = append $problems "persistence.existingClaim cannot be combined with kind StatefulSet, where each replica has its own volume: remove it, or set kind Deployment" -}}
{{- end -}}
{{- if and (eq $values.kind "DaemonSet") $values.autoscaling.enabled -}}
{{- $problems = append $problems "autoscaling cannot be combined with kind DaemonSet, which has one pod on every node" -}}
{{- end -}}
{{- if and (eq $values.kind "DaemonSet") $values.podDisruptionBudget.enabled -}}
{{- $problems = append $problems "podDisruptionBudget cannot be combined with kind DaemonSet: draining a node does not evict its pods" -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
{{- $problems = append $problems "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (not $values.autoscaling.targetCPUUtilizationPercentage) (not $values.autoscaling.targetMemoryUtilizationPercentage) -}}
{{- $problems = append $problems "autoscaling needs a target: targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage, or both" -}}
{{- end -}}
{{- if and (not (kindIs "invalid" $values.podDisruptionBudget.minAvailable)) (not (kindIs "invalid" $values.podDisruptionBudget.maxUnavailable)) -}}
{{- $problems = append $problems "podDisruptionBudget takes minAvailable or maxUnavailable, not both" -}}
{{- end -}}
{{- if and $values.registry.upstream.config.contents $values.registry.upstream.config.existingSecret -}}
{{- $problems = append $problems "registry.upstream.config takes contents or existingSecret, not both" -}}
{{- end -}}
{{- if ne (empty $storage.s3.accessKey) (empty $storage.s3.secretKey) -}}
{{- $problems = append $problems "registry.storage.s3 needs accessKey and secretKey, or neither" -}}
{{- end -}}
{{- if and $storage.s3.accessKey $storage.s3.existingSecret -}}
{{- $problems = append $problems "registry.storage.s3 takes accessKey and secretKey, or existingSecret, not both" -}}
{{- end -}}
{{- if and (eq $storage.mode "s3") $storage.s3.redirect.enabled $values.registry.checkCacheDigest -}}
{{- $problems = append $problems "registry.checkCacheDigest cannot be combined with registry.storage.s3.redirect.enabled: clients that are redirected to the bucket get bytes that are not verified" -}}
{{- end -}}
{{- if and (eq $storage.mode "s3") $values.registry.minFree -}}
{{- $problems = append $problems "registry.minFree cannot be combined with registry.storage.mode s3, where free space is not known: set registry.maxSize" -}}
{{- end -}}
{{- if and (eq $storage.mode "s3") (hasSuffix "%" $values.registry.maxSize) -}}
{{- $problems = append $problems "registry.maxSize must be a size, such as 200GiB, with registry.storage.mode s3: a bucket has no size to share" -}}
{{- end -}}
{{- $node := include "oci-registry.hostNetwork" . -}}
{{- if and $node (not $values.daemonSet.hostPort) -}}
{{- $problems = append $problems "daemonSet.hostNetwork requires daemonSet.hostPort, the port on the node: set it, or set daemonSet.hostNetwork false" -}}
{{- end -}}
{{- if and $node (lt (int $values.daemonSet.hostPort) 1024) -}}
{{- $problems = append $problems "daemonSet.hostPort must be 1024 or above with daemonSet.hostNetwork, because the daemon is not root: choose a higher port, or set daemonSet.hostNetwork false" -}}
{{- end -}}
{{- if and $node $values.networkPolicy.enabled -}}
{{- $problems = append $problems "networkPolicy has no effect on pods in the network of their node: set networkPolicy.enabled false, or daemonSet.hostNetwork false" -}}
{{- end -}}
{{- if and (include "oci-registry.nodeOnly" .) (include "oci-registry.service" .) -}}
{{- $problems = append $problems (printf "service.enabled: a Service cannot reach pods that listen on %s of their node: remove it, or set daemonSet.hostNetwork false" $values.daemonSet.hostIP) -}}
{{- end -}}
{{- if and (or $values.ingress.enabled $values.httpRoute.enabled) (not (include "oci-registry.service" .)) -}}
{{- $problems = append $problems "ingress and httpRoute require a Service: set service.enabled true" -}}
{{- end -}}
{{- if and $values.adminListen.enabled (eq (int $values.adminListen.port) (include "oci-registry.port" . | int)) -}}
{{- $problems = append $problems (printf "adminListen.port and the port for clients are both %d: choose another adminListen.port" (int $values.adminListen.port)) -}}
{{- end -}}
{{- if and $values.adminListen.token.existingSecret (not $values.adminListen.enabled) -}}
{{- $problems = append $problems "adminListen.token requires a port for the admin API: set adminListen.enabled true, or remove the token" -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled $values.adminListen.enabled (not (include "oci-registry.adminService" .)) -}}
{{- $problems = append $problems (printf "metrics.serviceMonitor: Prometheus cannot reach %s of each node: set adminListen.address, for example to 0.0.0.0 for every address of the node" (include "oci-registry.adminAddress" .)) -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled (not $values.adminListen.enabled) (not (include "oci-registry.service" .)) -}}
{{- $problems = append $problems "metrics.serviceMonitor requires a Service: set adminListen.enabled or service.enabled true" -}}
{{- end -}}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) -}}
{{- $problems = append $problems "httpRoute.parentRefs is required: name the Gateway, for example [{name: gateway, namespace: gateways}]" -}}
{{- end -}}
{{- if $values.nodeSetup.enabled -}}
{{- $names := list -}}
{{- range include "oci-registry.nodeSetups" . | fromYamlArray -}}
{{- if and (not .mirror) (or $values.tls.existingSecret $values.httpRoute.enabled (eq $values.service.type "LoadBalancer") (not (include "oci-registry.service" $))) -}}
{{- $problems = append $problems "nodeSetup.mirror is required: set it to the URL of the cache as nodes reach it, with the host name in its certificate if it serves TLS" -}}
{{- end -}}
{{- if and $values.nodeSetup.ca.existingConfigMap (not (hasPrefix "https:" .mirror)) -}}
{{- $problems = append $problems "nodeSetup.ca requires a cache that nodes reach by https: set nodeSetup.mirror to its URL" -}}
{{- end -}}
{{- if has .name $names -}}
{{- $problems = append $problems (printf "nodeSetup.runtimes has %s twice: give each a name of its own" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
{{- if and $values.registry.upstream.config.filesSecret (not $values.registry.upstream.config.contents) -}}
{{- $problems = append $problems "registry.upstream.config.filesSecret requires contents: the files of existingSecret are in that Secret" -}}
{{- end -}}
{{- if not $values.registry.upstream.config.filesSecret -}}
{{- range $entry := $values.registry.upstream.config.contents -}}
{{- range $place := concat (list $entry) (default list $entry.hosts) -}}
{{- if kindIs "map" $place -}}
{{- range $key := list "ca_file" "client_cert_file" "client_key_file" "password_file" -}}
{{- $file := get $place $key | default "" -}}
{{- if and $file (not (hasPrefix "/" $file)) -}}
{{- $problems = append $problems (printf "registry.upstream.config.contents, %s: %s %s is not in the pod: put it into a Secret and set registry.upstream.config.filesSecret, or mount it with extraVolumes and give its absolute path" $entry.namespace $key $file) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with uniq $problems -}}
{{- fail (join "\n" .) -}}
{{- end -}}
{{- end }}
