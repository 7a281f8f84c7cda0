{{/* What cluster-scoped objects are called: by the release, so that two can stand side by side. */}}
{{- define "weft.clusterName" -}}
weft-operator:{{ .Release.Namespace }}:{{ .Release.Name }}
{{- end }}

{{- define "weft.selector" -}}
app.kubernetes.io/name: weft-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weft.labels" -}}
{{ include "weft.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What the operator reads: the release and what it was installed with. */}}
{{- define "weft.installation" -}}
release: {{ .Release.Name | quote }}
versions: {{- toYaml .Values.versions | nindent 2 }}
stores: {{- toYaml .Values.stores | nindent 2 }}
tracing: {{- toYaml .Values.tracing | nindent 2 }}
watch: {{- toYaml .Values.watch | nindent 2 }}
{{- end }}

{{/* What the operator may do in the namespaces that it looks after, and why. */}}
{{- define "weft.rules" -}}
# Stacks: seen and waited for. Never written: the spec is the user's.
- apiGroups: [weft.dev]
  resources: [stacks]
  verbs: [list, watch]
# Their status is ours to write.
- apiGroups: [weft.dev]
  resources: [stacks/status]
  verbs: [patch]
# What a Stack runs: get finds out whether a name is taken by someone else, list and watch see what was changed or deleted,
# create and patch are server-side apply, delete prunes what the Stack no longer asks for. get also reads the ConfigMap that
# `mail.templates` of a Stack names.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts, configmaps]
  verbs: [get, list, watch, create, patch, delete]
# Secrets that the operator makes, by name. list and watch: a deleted one is noticed, a changed one rolls the pods that use it.
# patch and delete concern only those that are made from a user's Secret; those with passwords are made once.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [mongodb, mongodb-external, postgres, postgres-external, rabbitmq, rabbitmq-external]
  verbs: [list, watch, patch, delete]
# create can't be bound to names. get reads the Secrets that a Stack names (`external.secretRef`, `admin.secretRef`), which may
# have any name, and `<stack>-admin`.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
# Is there a volume from before? Then no new password is made for it. patch gives it the Stack's owner reference where
# `deletionPolicy: Delete` and its annotation ask for that, and takes it away again. Volumes are never deleted.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  resourceNames: [data-mongodb-0, data-postgres-0, data-rabbitmq-0]
  verbs: [get, patch]
# The pod templates that a Stack last rolled to: what can't be changed is made anew and the one before deleted.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
# What has changed is told as Events of the Stack.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# What keeps a pod from starting is said in the Stack's status; at its address its service says how its store is.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end }}
