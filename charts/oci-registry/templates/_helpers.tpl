{{/*
The name of all objects.  At most 52 characters: a StatefulSet's becomes a label with a hash behind it,
and others here have words behind theirs.  A Service's begins with a letter.
*/}}
{{- define "oci-registry.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- end -}}
{{- if regexMatch "^[0-9]" $full -}}
{{- $full = printf "r%s" $full -}}
{{- end -}}
{{- regexReplaceAll "[^a-z0-9-]" ($full | lower) "-" | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{/*
What tells this release's pods from others.  It cannot be changed later, so nothing else is in it.
Quoted, as all names that others choose: 123 and true are names, too.
*/}}
{{- define "oci-registry.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of an object: a list of the root and of a dictionary with more.  Ours cannot be replaced. */}}
{{- define "oci-registry.labelsWith" -}}
{{- $root := first . -}}
{{- $own := dict
  "app.kubernetes.io/version" (default $root.Chart.AppVersion $root.Values.image.tag | trunc 63 | trimAll "-_.")
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
-}}
{{- $selector := include "oci-registry.selectorLabels" $root | fromYaml -}}
{{- toYaml (mergeOverwrite (dict) $root.Values.extraLabels $selector $own (last .)) -}}
{{- end }}

{{- define "oci-registry.labels" -}}
{{- include "oci-registry.labelsWith" (list . dict) -}}
{{- end }}

{{/* Another name than the cache's pods have, so that no Service sends pulls to a test. */}}
{{- define "oci-registry.testLabels" -}}
app.kubernetes.io/name: {{ printf "%s-test" (default .Chart.Name .Values.nameOverride | trunc 58 | trimSuffix "-") | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/*
Another name again, for the pods that configure the nodes: a list of the root and of what is behind it, which
is nothing where there is one DaemonSet.
*/}}
{{- define "oci-registry.nodeSetupLabels" -}}
{{- $root := first . -}}
{{- $end := printf "-node-setup%s" (last .) -}}
{{- $name := default $root.Chart.Name $root.Values.nameOverride | trunc (sub 63 (len $end) | int) | trimSuffix "-" -}}
app.kubernetes.io/name: {{ printf "%s%s" $name $end | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
{{- end }}

{{/* Each DaemonSet that configures nodes, as a dictionary with the values for it. */}}
{{- define "oci-registry.nodeSetups" -}}
{{- $setup := .Values.nodeSetup -}}
{{- $known := list -}}
{{- range .Values.registry.upstream.config.contents -}}
{{- if ne .namespace "*" }}{{ $known = append $known .namespace }}{{ end -}}
{{- end -}}
{{- $found := list -}}
{{- range $entry := default (list dict) $setup.runtimes -}}
{{- $one := dict "name" "" "end" "" "hostPath" "" -}}
{{- if not $setup.runtimes }}{{ $_ := set $one "hostPath" $setup.hostPath }}{{ end -}}
{{- range list "runtime" "namespaces" "removeOnStop" "extraArgs" "tolerations" -}}
{{- $_ := set $one . (get $setup .) -}}
{{- end -}}
{{- range $key, $value := $entry }}{{ $_ := set $one $key $value }}{{ end -}}
{{- $_ := set $one "nodeSelector" (merge (dict) (default (dict) $entry.nodeSelector) $setup.nodeSelector) -}}
{{- $_ := set $one "mirror" (default (include "oci-registry.mirror" $) $entry.mirror) -}}
{{- if $entry -}}
{{- $_ := set $one "name" (default $one.runtime $one.name) -}}
{{- $_ := set $one "end" (printf "-%s" $one.name) -}}
{{- end -}}
{{- $_ := set $one "inferred" (empty $one.namespaces) -}}
{{- if not $one.namespaces }}{{ $_ := set $one "namespaces" (default (list "docker.io") $known) }}{{ end -}}
{{- if not (kindIs "bool" $one.removeOnStop) }}{{ $_ := set $one "removeOnStop" (eq $one.runtime "containerd") }}{{ end -}}
{{- $found = append $found $one -}}
{{- end -}}
{{- toYaml $found -}}
{{- end }}

{{/* The account of the pods that configure the nodes: it has no role. */}}
{{- define "oci-registry.nodeSetupAccount" -}}
{{- $made := .Values.serviceAccount.create | ternary (printf "%s-node-setup" (include "oci-registry.fullname" .)) "default" -}}
{{- default $made .Values.nodeSetup.serviceAccountName -}}
{{- end }}

{{/* HOST:PORT that the test of the release asks; nothing if there is none that it can reach. */}}
{{- define "oci-registry.testAddress" -}}
{{- if include "oci-registry.service" . -}}
{{- printf "%s:%d" (include "oci-registry.fullname" .) (int .Values.service.port) -}}
{{- else if include "oci-registry.hostNetwork" . -}}
{{- include "oci-registry.authority" (list (default "127.0.0.1" .Values.daemonSet.hostIP) (include "oci-registry.port" .)) -}}
{{- end -}}
{{- end }}

{{- define "oci-registry.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) }}
{{- end -}}
{{- end }}

{{- define "oci-registry.serviceAccountName" -}}
{{- $account := .Values.serviceAccount -}}
{{- default ($account.create | ternary (include "oci-registry.fullname" .) "default") $account.name -}}
{{- end }}

{{/* The Secret with the upstream file; nothing if there is none. */}}
{{- define "oci-registry.upstreamSecret" -}}
{{- $config := .Values.registry.upstream.config -}}
{{- if $config.existingSecret -}}
{{ $config.existingSecret }}
{{- else if $config.contents -}}
{{ include "oci-registry.fullname" . }}-upstream
{{- end -}}
{{- end }}

{{/* The Secret with the keys of the bucket; nothing if there is none. */}}
{{- define "oci-registry.s3Secret" -}}
{{- $s3 := .Values.registry.storage.s3 -}}
{{- if $s3.existingSecret -}}
{{ $s3.existingSecret }}
{{- else if $s3.accessKey -}}
{{ include "oci-registry.fullname" . }}-s3
{{- end -}}
{{- end }}

{{/* The claim that all replicas mount; nothing where there is none, or one for each replica. */}}
{{- define "oci-registry.claim" -}}
{{- $disk := .Values.persistence -}}
{{- if and (eq .Values.registry.storage.mode "filesystem") $disk.enabled (eq .Values.kind "Deployment") -}}
{{ default (include "oci-registry.fullname" .) $disk.existingClaim }}
{{- end -}}
{{- end }}

{{- define "oci-registry.claimSpec" -}}
accessModes:
  {{- toYaml .Values.persistence.accessModes | nindent 2 }}
{{- with .Values.persistence.storageClass }}
storageClassName: {{ eq . "-" | ternary "" . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.persistence.size | quote }}
{{- end }}

{{- define "oci-registry.shared" -}}
{{- if has "ReadWriteMany" .Values.persistence.accessModes }}true{{ end -}}
{{- end }}

{{/* Whether the pods use the network of their node. */}}
{{- define "oci-registry.hostNetwork" -}}
{{- if and (eq .Values.kind "DaemonSet") .Values.daemonSet.hostNetwork }}true{{ end -}}
{{- end }}

{{/* Whether nothing but their node reaches the pods. */}}
{{- define "oci-registry.nodeOnly" -}}
{{- if and (include "oci-registry.hostNetwork" .) (regexMatch "^(127[.]|::1$)" (include "oci-registry.address" .)) }}true{{ end -}}
{{- end }}

{{/* Whether there is a Service for clients. */}}
{{- define "oci-registry.service" -}}
{{- if kindIs "invalid" .Values.service.enabled | ternary (include "oci-registry.hostNetwork" . | empty) .Values.service.enabled }}true{{ end -}}
{{- end }}

{{/* Whether Prometheus reaches the metrics at a port of their own. */}}
{{- define "oci-registry.adminService" -}}
{{- if .Values.adminListen.enabled -}}
{{- if not (regexMatch "^(127[.]|::1$)" (include "oci-registry.adminAddress" .)) }}true{{ end -}}
{{- end -}}
{{- end }}

{{- define "oci-registry.address" -}}
{{- $node := include "oci-registry.hostNetwork" . | empty | ternary "" .Values.daemonSet.hostIP -}}
{{- default .Values.registry.listenAddress $node -}}
{{- end }}

{{- define "oci-registry.adminAddress" -}}
{{- default (include "oci-registry.address" .) .Values.adminListen.address -}}
{{- end }}

{{- define "oci-registry.port" -}}
{{- include "oci-registry.hostNetwork" . | empty | ternary .Values.containerPort .Values.daemonSet.hostPort | int -}}
{{- end }}

{{/* HOST:PORT, with brackets if it is an IPv6 address. */}}
{{- define "oci-registry.authority" -}}
{{- printf (contains ":" (first .) | ternary "[%s]:%s" "%s:%s") (first .) (last .) -}}
{{- end }}

{{/* Where the daemon listens for clients.  Behind the certificate there may be those of its issuers. */}}
{{- define "oci-registry.listen" -}}
{{- $address := include "oci-registry.address" . -}}
{{- $port := include "oci-registry.port" . -}}
{{- if .Values.tls.existingSecret -}}
{{- $files := "/etc/oci-registry/tls" -}}
{{- printf "ssl:%s:privateKey=%s/tls.key:certKey=%s/tls.crt:extraCertChain=%s/tls.crt:interface=%s" $port $files $files $files ($address | replace ":" "\\:") -}}
{{- else -}}
{{- include "oci-registry.authority" (list $address $port) -}}
{{- end -}}
{{- end }}

{{/* A probe: by the scheme that is served, and at the address of the node if that is the only one. */}}
{{- define "oci-registry.probe" -}}
{{- $root := first . -}}
{{- $probe := deepCopy (last .) -}}
{{- if and $probe.httpGet (eq (toString $probe.httpGet.port) "http") -}}
{{- if and $root.Values.tls.existingSecret (not $probe.httpGet.scheme) -}}
{{- $_ := set $probe.httpGet "scheme" "HTTPS" -}}
{{- end -}}
{{- if include "oci-registry.nodeOnly" $root -}}
{{- $_ := set $probe.httpGet "host" (include "oci-registry.address" $root) -}}
{{- end -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end }}

{{/* The section of the Ingress for TLS.  An annotation that asks for a certificate asks for one for all hosts. */}}
{{- define "oci-registry.ingressTLS" -}}
{{- $ingress := .Values.ingress -}}
{{- $asks := false -}}
{{- range $key, $value := $ingress.annotations -}}
{{- if or (and (eq $key "kubernetes.io/tls-acme") (eq $value "true")) (has $key (list "cert-manager.io/issuer" "cert-manager.io/cluster-issuer")) -}}
{{- $asks = true -}}
{{- end -}}
{{- end -}}
{{- if $ingress.tls -}}
{{- toYaml $ingress.tls -}}
{{- else if $asks -}}
{{- toYaml (list (dict "secretName" (printf "%s-tls" (include "oci-registry.fullname" .)) "hosts" $ingress.hosts)) -}}
{{- end -}}
{{- end }}

{{/* The URL by which the nodes reach the cache; nothing if it is not known before the release is installed. */}}
{{- define "oci-registry.mirror" -}}
{{- $scheme := .Values.tls.existingSecret | empty | ternary "http" "https" -}}
{{- if .Values.nodeSetup.mirror -}}
{{ .Values.nodeSetup.mirror }}
{{- else if and (eq .Values.kind "DaemonSet") .Values.daemonSet.hostPort -}}
{{- $scheme }}://{{ include "oci-registry.authority" (list (default "127.0.0.1" .Values.daemonSet.hostIP) (toString (int .Values.daemonSet.hostPort))) }}
{{- else if .Values.ingress.enabled -}}
{{- $host := first .Values.ingress.hosts -}}
{{- $secure := false -}}
{{- range include "oci-registry.ingressTLS" . | fromYamlArray }}{{ if has $host (default (list) .hosts) }}{{ $secure = true }}{{ end }}{{ end -}}
{{- printf "%s://%s" ($secure | ternary "https" "http") $host -}}
{{- else if .Values.httpRoute.enabled -}}
{{- with .Values.httpRoute.hostnames }}{{ if not (hasPrefix "*" (first .)) }}https://{{ first . }}{{ end }}{{ end -}}
{{- else if and (eq .Values.service.type "LoadBalancer") .Values.service.loadBalancerIP (not .Values.tls.existingSecret) -}}
http://{{ include "oci-registry.authority" (list .Values.service.loadBalancerIP (toString (int .Values.service.port))) }}
{{- end -}}
{{- end }}

{{/* The ports that hosts of the bucket, of registries and of proxies name, and the usual ones, for the way out. */}}
{{- define "oci-registry.upstreamPorts" -}}
{{- $ports := .Values.networkPolicy.egress.ports -}}
{{- $hosts := list -}}
{{- if eq .Values.registry.storage.mode "s3" -}}
{{- $hosts = append $hosts (.Values.registry.storage.s3.host | trimSuffix "/") -}}
{{- end -}}
{{- range .Values.registry.upstream.config.contents -}}
{{- $hosts = concat $hosts (list (default "" .host) (default "" .proxy | trimSuffix "/")) -}}
{{- range .hosts -}}
{{- if kindIs "string" . -}}
{{- $hosts = append $hosts . -}}
{{- else -}}
{{- $hosts = concat $hosts (list (default "" .host) (default "" .proxy | trimSuffix "/")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if has (upper .name) (list "HTTPS_PROXY" "HTTP_PROXY" "ALL_PROXY") -}}
{{- $hosts = append $hosts (default "" .value | trimSuffix "/") -}}
{{- end -}}
{{- end -}}
{{- range $hosts -}}
{{- with regexFind ":[0-9]+(/|$)" . -}}
{{- $ports = append $ports (trimAll ":/" . | int) -}}
{{- end -}}
{{- end -}}
{{- range uniq $ports }}
- port: {{ . }}
  protocol: TCP
{{- end -}}
{{- end }}
