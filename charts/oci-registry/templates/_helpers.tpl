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

{{/* The ports that hosts of the bucket and of registries name, and the usual ones, for the way out. */}}
{{- define "oci-registry.upstreamPorts" -}}
{{- $ports := .Values.networkPolicy.egress.ports -}}
{{- $hosts := list -}}
{{- if eq .Values.registry.storage.mode "s3" -}}
{{- $hosts = append $hosts (.Values.registry.storage.s3.host | trimSuffix "/") -}}
{{- end -}}
{{- range .Values.registry.upstream.config.contents -}}
{{- $hosts = append $hosts (default "" .host) -}}
{{- range .hosts -}}
{{- if kindIs "string" . -}}
{{- $hosts = append $hosts . -}}
{{- else -}}
{{- $hosts = append $hosts (default "" .host) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $hosts -}}
{{- with regexFind ":[0-9]+$" . -}}
{{- $ports = append $ports (trimPrefix ":" . | int) -}}
{{- end -}}
{{- end -}}
{{- range uniq $ports }}
- port: {{ . }}
  protocol: TCP
{{- end -}}
{{- end }}
