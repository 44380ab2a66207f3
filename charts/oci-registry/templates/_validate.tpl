{{/* Refuse, in a sentence, what the schema of the values cannot know to be wrong. */}}
{{- define "oci-registry.validate" -}}
{{- $values := .Values -}}
{{- $storage := $values.registry.storage -}}
{{- $disk := $values.persistence -}}
{{- $filesystem := eq $storage.mode "filesystem" -}}
{{- $shared := and $disk.enabled (include "oci-registry.shared" .) -}}
{{- $several := $values.autoscaling.enabled | ternary (gt (int $values.autoscaling.maxReplicas) 1) (gt (int $values.replicas) 1) -}}
{{- if and $several $filesystem (eq $values.kind "Deployment") (not $shared) -}}
{{- fail "several replicas of a Deployment need one store that all of them can write to, and registry.storage.mode filesystem has none: the volume is mounted by one node at a time unless persistence.enabled is true and persistence.accessModes contains ReadWriteMany. Choose such a volume, registry.storage.mode s3, kind StatefulSet (a volume for each replica), kind DaemonSet (a cache on every node), or replicas 1" -}}
{{- end -}}
{{- if and (eq $values.kind "StatefulSet") $filesystem $disk.enabled $disk.existingClaim -}}
{{- fail "persistence.existingClaim is one volume, but in a StatefulSet each replica makes its own: leave it out, or use kind Deployment" -}}
{{- end -}}
{{- if and (eq $values.kind "DaemonSet") $values.autoscaling.enabled -}}
{{- fail "autoscaling cannot be combined with kind DaemonSet, which has one pod on every node" -}}
{{- end -}}
{{- if and (eq $values.kind "DaemonSet") $values.podDisruptionBudget.enabled -}}
{{- fail "podDisruptionBudget cannot be combined with kind DaemonSet: draining a node leaves its pods alone" -}}
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
{{- fail "daemonSet.hostNetwork needs daemonSet.hostPort: it is where the daemon listens on the node. Without a port of the node set daemonSet.hostNetwork false" -}}
{{- end -}}
{{- if and $node (lt (int $values.daemonSet.hostPort) 1024) -}}
{{- fail "with daemonSet.hostNetwork the daemon, which is not root, cannot listen at daemonSet.hostPort below 1024: choose a higher one, or set daemonSet.hostNetwork false" -}}
{{- end -}}
{{- if and $node $values.networkPolicy.enabled -}}
{{- fail "networkPolicy does not apply to pods on the network of their node: leave it out, or set daemonSet.hostNetwork false" -}}
{{- end -}}
{{- if and (include "oci-registry.nodeOnly" .) (include "oci-registry.service" .) -}}
{{- fail (printf "service.enabled: no Service reaches pods that listen at %s of their node: leave it out, or set daemonSet.hostNetwork false" $values.daemonSet.hostIP) -}}
{{- end -}}
{{- if and (or $values.ingress.enabled $values.httpRoute.enabled) (not (include "oci-registry.service" .)) -}}
{{- fail "ingress and httpRoute lead to the Service, and there is none: set service.enabled true" -}}
{{- end -}}
{{- if and $values.adminListen.enabled (eq (int $values.adminListen.port) (include "oci-registry.port" . | int)) -}}
{{- fail (printf "adminListen.port and the port for clients are both %d: choose another adminListen.port" (int $values.adminListen.port)) -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled $values.adminListen.enabled (not (include "oci-registry.adminService" .)) -}}
{{- fail (printf "metrics.serviceMonitor: Prometheus does not reach %s of each node: set adminListen.address, 0.0.0.0 for every address of the node" (include "oci-registry.adminAddress" .)) -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled (not $values.adminListen.enabled) (not (include "oci-registry.service" .)) -}}
{{- fail "metrics.serviceMonitor needs a Service: set adminListen.enabled or service.enabled true" -}}
{{- end -}}
{{- if and $values.nodeSetup.enabled (not (include "oci-registry.mirror" .)) (or $values.tls.existingSecret (not (include "oci-registry.service" .))) -}}
{{- fail "nodeSetup.mirror is required: the URL by which nodes reach the cache, with the name that its certificate has if there is one" -}}
{{- end -}}
{{- end }}
