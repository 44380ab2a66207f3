{{/* Reject values that are wrong together, which the schema cannot check. */}}
{{- define "oci-registry.validate" -}}
{{- $values := .Values -}}
{{- $storage := $values.registry.storage -}}
{{- $disk := $values.persistence -}}
{{- $filesystem := eq $storage.mode "filesystem" -}}
{{- $shared := and $disk.enabled (include "oci-registry.shared" .) -}}
{{- $several := $values.autoscaling.enabled | ternary (gt (int $values.autoscaling.maxReplicas) 1) (gt (int $values.replicas) 1) -}}
{{- if and $several $filesystem (eq $values.kind "Deployment") (not $shared) -}}
{{- fail "several replicas of a Deployment need one store that all of them can write to: set persistence.enabled true and persistence.accessModes [ReadWriteMany], or registry.storage.mode s3, or kind StatefulSet (a volume for each replica), or kind DaemonSet (a cache on every node), or replicas 1" -}}
{{- end -}}
{{- if and (eq $values.kind "StatefulSet") $filesystem $disk.enabled $disk.existingClaim -}}
{{- fail "persistence.existingClaim cannot be combined with kind StatefulSet, where each replica has its own volume: remove it, or set kind Deployment" -}}
{{- end -}}
{{- if and (eq $values.kind "DaemonSet") $values.autoscaling.enabled -}}
{{- fail "autoscaling cannot be combined with kind DaemonSet, which has one pod on every node" -}}
{{- end -}}
{{- if and (eq $values.kind "DaemonSet") $values.podDisruptionBudget.enabled -}}
{{- fail "podDisruptionBudget cannot be combined with kind DaemonSet: draining a node does not evict its pods" -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (not $values.autoscaling.targetCPUUtilizationPercentage) (not $values.autoscaling.targetMemoryUtilizationPercentage) -}}
{{- fail "autoscaling needs a target: targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage, or both" -}}
{{- end -}}
{{- if and (not (kindIs "invalid" $values.podDisruptionBudget.minAvailable)) (not (kindIs "invalid" $values.podDisruptionBudget.maxUnavailable)) -}}
{{- fail "podDisruptionBudget takes minAvailable or maxUnavailable, not both" -}}
{{- end -}}
{{- if and $values.registry.upstream.config.contents $values.registry.upstream.config.existingSecret -}}
{{- fail "registry.upstream.config takes contents or existingSecret, not both" -}}
{{- end -}}
{{- if ne (empty $storage.s3.accessKey) (empty $storage.s3.secretKey) -}}
{{- fail "registry.storage.s3 needs accessKey and secretKey, or neither" -}}
{{- end -}}
{{- if and $storage.s3.accessKey $storage.s3.existingSecret -}}
{{- fail "registry.storage.s3 takes accessKey and secretKey, or existingSecret, not both" -}}
{{- end -}}
{{- if and (eq $storage.mode "s3") $storage.s3.redirect.enabled $values.registry.checkCacheDigest -}}
{{- fail "registry.checkCacheDigest cannot be combined with registry.storage.s3.redirect.enabled: clients that are redirected to the bucket get bytes that are not verified" -}}
{{- end -}}
{{- $node := include "oci-registry.hostNetwork" . -}}
{{- if and $node (not $values.daemonSet.hostPort) -}}
{{- fail "daemonSet.hostNetwork requires daemonSet.hostPort, the port on the node: set it, or set daemonSet.hostNetwork false" -}}
{{- end -}}
{{- if and $node (lt (int $values.daemonSet.hostPort) 1024) -}}
{{- fail "daemonSet.hostPort must be 1024 or above with daemonSet.hostNetwork, because the daemon is not root: choose a higher port, or set daemonSet.hostNetwork false" -}}
{{- end -}}
{{- if and $node $values.networkPolicy.enabled -}}
{{- fail "networkPolicy has no effect on pods in the network of their node: set networkPolicy.enabled false, or daemonSet.hostNetwork false" -}}
{{- end -}}
{{- if and (include "oci-registry.nodeOnly" .) (include "oci-registry.service" .) -}}
{{- fail (printf "service.enabled: a Service cannot reach pods that listen on %s of their node: remove it, or set daemonSet.hostNetwork false" $values.daemonSet.hostIP) -}}
{{- end -}}
{{- if and (or $values.ingress.enabled $values.httpRoute.enabled) (not (include "oci-registry.service" .)) -}}
{{- fail "ingress and httpRoute require a Service: set service.enabled true" -}}
{{- end -}}
{{- if and $values.adminListen.enabled (eq (int $values.adminListen.port) (include "oci-registry.port" . | int)) -}}
{{- fail (printf "adminListen.port and the port for clients are both %d: choose another adminListen.port" (int $values.adminListen.port)) -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled $values.adminListen.enabled (not (include "oci-registry.adminService" .)) -}}
{{- fail (printf "metrics.serviceMonitor: Prometheus cannot reach %s of each node: set adminListen.address, for example to 0.0.0.0 for every address of the node" (include "oci-registry.adminAddress" .)) -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled (not $values.adminListen.enabled) (not (include "oci-registry.service" .)) -}}
{{- fail "metrics.serviceMonitor requires a Service: set adminListen.enabled or service.enabled true" -}}
{{- end -}}
{{- if and $values.nodeSetup.enabled (not (include "oci-registry.mirror" .)) (or $values.tls.existingSecret (not (include "oci-registry.service" .))) -}}
{{- fail "nodeSetup.mirror is required: set it to the URL of the cache as nodes reach it, with the host name in its certificate if it serves TLS" -}}
{{- end -}}
{{- end }}
