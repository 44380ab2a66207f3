{{/* The metadata and spec of the pods, the same for each kind of workload. */}}
{{- define "oci-registry.pod" -}}
{{- $registry := .Values.registry -}}
{{- $storage := $registry.storage -}}
{{- $filesystem := eq $storage.mode "filesystem" -}}
{{- $s3 := $storage.s3 -}}
{{- $daemons := eq .Values.kind "DaemonSet" -}}
metadata:
  labels:
    {{- /* No version of the chart: a new one alone is no reason to restart. */}}
    {{- $selector := include "oci-registry.selectorLabels" . | fromYaml }}
    {{- toYaml (mergeOverwrite (dict) .Values.extraLabels .Values.podLabels $selector) | nindent 4 }}
  annotations:
    kubectl.kubernetes.io/default-container: oci-registry
    {{- /* What is read at start: another content makes new pods. */}}
    {{- if and $registry.upstream.config.contents (include "oci-registry.upstreamSecret" .) }}
    checksum/upstream: {{ toJson $registry.upstream.config.contents | sha256sum }}
    {{- end }}
    {{- if and (not $filesystem) $s3.accessKey }}
    checksum/s3: {{ printf "%s\n%s" $s3.accessKey $s3.secretKey | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "oci-registry.serviceAccountName" . | quote }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automountServiceAccountToken }}
  {{- /* The variables of other services could be taken for options. */}}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add .Values.preStopSleepSeconds $registry.shutdownGraceSeconds 15 }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with default ($daemons | ternary .Values.daemonSet.priorityClassName "") .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- if include "oci-registry.hostNetwork" . }}
  hostNetwork: true
  {{- end }}
  {{- with default (include "oci-registry.hostNetwork" . | empty | ternary "" "ClusterFirstWithHostNet") .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with default ($daemons | ternary .Values.daemonSet.tolerations list) .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and .Values.topologySpreadConstraints (not $daemons) }}
  {{- $own := dict "labelSelector" (dict "matchLabels" $selector) }}
  {{- $spread := list }}
  {{- range .Values.topologySpreadConstraints }}
  {{- $spread = append $spread (merge (dict) . (hasKey . "labelSelector" | ternary (dict) $own)) }}
  {{- end }}
  topologySpreadConstraints:
    {{- toYaml $spread | nindent 4 }}
  {{- end }}
  {{- $prepare := and $daemons $filesystem .Values.daemonSet.hostPath .Values.daemonSet.prepareHostPath }}
  {{- if or $prepare .Values.extraInitContainers }}
  initContainers:
    {{- if $prepare }}
    {{- /* The kubelet makes the directory for root. */}}
    - name: prepare-host-path
      image: {{ include "oci-registry.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command:
        - python
        - -c
        - import os, sys; os.chown(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
        - {{ $storage.filesystem.path | quote }}
        - {{ default 65532 .Values.podSecurityContext.runAsUser | int64 | quote }}
        - {{ default 65532 .Values.podSecurityContext.runAsGroup | int64 | quote }}
      securityContext:
        runAsNonRoot: false
        runAsUser: 0
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
          add: [CHOWN]
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: data
          mountPath: {{ $storage.filesystem.path | quote }}
    {{- end }}
    {{- with .Values.extraInitContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: oci-registry
      image: {{ include "oci-registry.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [twistd, -n, --pidfile=, oci-registry]
      args:
        {{- if $registry.upstream.credentials.existingSecret }}
        - --upstream-credentials-file=/etc/oci-registry/credentials/credentials.json
        {{- end }}
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        - {{ $storage.mode }}
        {{- with .Values.extraStorageArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        - name: LISTEN
          value: {{ include "oci-registry.listen" . | quote }}
        {{- if .Values.adminListen.enabled }}
        - name: ADMIN_LISTEN
          value: {{ include "oci-registry.authority" (list (include "oci-registry.adminAddress" .) (toString (int .Values.adminListen.port))) | quote }}
        {{- if .Values.adminListen.token.existingSecret }}
        - name: ADMIN_TOKEN_FILE
          value: /etc/oci-registry/admin/token
        {{- end }}
        {{- end }}
        - name: DEFAULT_NAMESPACE
          value: {{ $registry.defaultNamespace | quote }}
        - name: UPSTREAMS
          value: {{ $registry.upstreams | quote }}
        {{- if $registry.allowPrivateUpstreams }}
        - name: ALLOW_PRIVATE_UPSTREAMS
          value: "true"
        {{- end }}
        {{- if $registry.offline }}
        - name: OFFLINE
          value: "true"
        {{- end }}
        - name: CHECK_CACHE_DIGEST
          value: {{ $registry.checkCacheDigest | quote }}
        {{- with $registry.scrub.interval }}
        - name: SCRUB_INTERVAL
          value: {{ . | quote }}
        {{- end }}
        {{- with $registry.scrub.rate }}
        - name: SCRUB_RATE
          value: {{ . | quote }}
        {{- end }}
        - name: LOG_LEVEL
          value: {{ $registry.logLevel | quote }}
        - name: LOG_FORMAT
          value: {{ $registry.logFormat | quote }}
        - name: SHUTDOWN_GRACE
          value: "{{ int $registry.shutdownGraceSeconds }}s"
        - name: WORKERS
          value: {{ $registry.workers | toString | quote }}
        {{- if $registry.maxSize }}
        - name: MAX_SIZE
          value: {{ $registry.maxSize | quote }}
        {{- end }}
        {{- if $registry.minFree }}
        - name: MIN_FREE
          value: {{ $registry.minFree | quote }}
        {{- end }}
        - name: TMPDIR
          value: /tmp
        {{- if include "oci-registry.upstreamSecret" . }}
        - name: UPSTREAM_CONFIG_FILE
          value: /etc/oci-registry/upstream/{{ empty $registry.upstream.config.contents | ternary $registry.upstream.config.existingSecretKey "upstream.yaml" }}
        {{- end }}
        {{- if $filesystem }}
        - name: FILESYSTEM_ROOT
          value: {{ $storage.filesystem.path | quote }}
        {{- else }}
        {{- include "oci-registry.s3Env" . | nindent 8 }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: {{ include "oci-registry.port" . }}
          protocol: TCP
          {{- if and $daemons .Values.daemonSet.hostPort }}
          hostPort: {{ .Values.daemonSet.hostPort }}
          {{- with .Values.daemonSet.hostIP }}
          hostIP: {{ . | quote }}
          {{- end }}
          {{- end }}
        {{- if .Values.adminListen.enabled }}
        - name: admin
          containerPort: {{ .Values.adminListen.port }}
          protocol: TCP
        {{- end }}
      {{- range $probe := list "startupProbe" "livenessProbe" "readinessProbe" }}
      {{- with index $.Values $probe }}
      {{ $probe }}:
        {{- include "oci-registry.probe" (list $ .) | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- if .Values.preStopSleepSeconds }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.preStopSleepSeconds }}
      {{- end }}
      {{- with .Values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- if $filesystem }}
        - name: data
          mountPath: {{ $storage.filesystem.path | quote }}
        {{- else }}
        - name: spool
          mountPath: /spool
        {{- if include "oci-registry.s3Secret" . }}
        - name: s3-key
          mountPath: /etc/oci-registry/s3-key
          readOnly: true
        {{- end }}
        {{- if $s3.ca.existingConfigMap }}
        - name: s3-ca
          mountPath: /etc/oci-registry/s3
          readOnly: true
        {{- end }}
        {{- end }}
        {{- if include "oci-registry.upstreamSecret" . }}
        - name: upstream
          mountPath: /etc/oci-registry/upstream
          readOnly: true
        {{- end }}
        {{- if $registry.upstream.credentials.existingSecret }}
        - name: credentials
          mountPath: /etc/oci-registry/credentials
          readOnly: true
        {{- end }}
        {{- if .Values.adminListen.token.existingSecret }}
        - name: admin-token
          mountPath: /etc/oci-registry/admin
          readOnly: true
        {{- end }}
        {{- if .Values.tls.existingSecret }}
        - name: tls
          mountPath: /etc/oci-registry/tls
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- if not $filesystem }}
    - name: spool
      {{- toYaml (default (dict "emptyDir" dict) $s3.spool) | nindent 6 }}
    {{- with include "oci-registry.s3Secret" . }}
    - name: s3-key
      secret:
        secretName: {{ . | quote }}
        defaultMode: 0440
        items:
          - key: {{ empty $s3.accessKey | ternary $s3.existingSecretKeys.secretKey "secret_key" | quote }}
            path: secret_key
    {{- end }}
    {{- with $s3.ca.existingConfigMap }}
    - name: s3-ca
      configMap:
        name: {{ . | quote }}
        items:
          - key: {{ $s3.ca.key | quote }}
            path: ca.crt
    {{- end }}
    {{- else if include "oci-registry.claim" . }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ include "oci-registry.claim" . | quote }}
    {{- else if and $daemons .Values.daemonSet.hostPath }}
    - name: data
      hostPath:
        path: {{ .Values.daemonSet.hostPath | quote }}
        type: DirectoryOrCreate
    {{- else if or $daemons (not .Values.persistence.enabled) }}
    - name: data
      {{- $limit := .Values.persistence.emptyDir.sizeLimit }}
      emptyDir: {{ $limit | empty | ternary (dict) (dict "sizeLimit" $limit) | toJson }}
    {{- end }}
    {{- with include "oci-registry.upstreamSecret" . }}
    - name: upstream
      {{- if $registry.upstream.config.filesSecret }}
      projected:
        defaultMode: 0440
        sources:
          - secret:
              name: {{ $registry.upstream.config.filesSecret | quote }}
          - secret:
              name: {{ . | quote }}
      {{- else }}
      {{- /* All of it: files that the upstream file names are beside it. */}}
      secret:
        secretName: {{ . | quote }}
        defaultMode: 0440
      {{- end }}
    {{- end }}
    {{- with .Values.adminListen.token.existingSecret }}
    - name: admin-token
      secret:
        secretName: {{ . | quote }}
        defaultMode: 0440
        items:
          - key: {{ $.Values.adminListen.token.existingSecretKey | quote }}
            path: token
    {{- end }}
    {{- with $registry.upstream.credentials.existingSecret }}
    - name: credentials
      secret:
        secretName: {{ . | quote }}
        defaultMode: 0440
        items:
          - key: {{ $registry.upstream.credentials.existingSecretKey | quote }}
            path: credentials.json
    {{- end }}
    {{- with .Values.tls.existingSecret }}
    - name: tls
      secret:
        secretName: {{ . | quote }}
        defaultMode: 0440
        items:
          - key: tls.crt
            path: tls.crt
          - key: tls.key
            path: tls.key
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "oci-registry.s3Env" -}}
{{- $s3 := .Values.registry.storage.s3 -}}
{{- range $name, $value := dict "S3_HOST" $s3.host "S3_REGION" $s3.region "S3_BUCKET" $s3.bucket "S3_PREFIX" $s3.prefix "S3_ADDRESSING" $s3.addressing }}
{{- if $value }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
- name: S3_CONNECTIONS
  value: {{ int $s3.connections | quote }}
{{- /* A directory that the daemon makes for itself: the volume belongs to root. */}}
- name: S3_SPOOL
  value: /spool/oci-registry
{{- with include "oci-registry.s3Secret" . }}
- name: S3_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: {{ empty $s3.accessKey | ternary $s3.existingSecretKeys.accessKey "access_key" | quote }}
- name: S3_SECRET_KEY_FILE
  value: /etc/oci-registry/s3-key/secret_key
{{- end }}
{{- if $s3.ca.existingConfigMap }}
- name: S3_CA_FILE
  value: /etc/oci-registry/s3/ca.crt
{{- end }}
{{- if $s3.redirect.enabled }}
- name: S3_REDIRECT
  value: "true"
- name: S3_REDIRECT_RANGES
  value: {{ $s3.redirect.ranges | quote }}
{{- with $s3.redirect.host }}
- name: S3_REDIRECT_HOST
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
